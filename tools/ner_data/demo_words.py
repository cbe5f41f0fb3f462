"""The words and sentence templates of the generated corpus ``demo``, all written for this project.

Everything is a plain string, split at spaces. `ner_data.demo` combines the parts and divides the combinations among
train, dev and test; no surface is in two splits.
"""

# Two-character stems: one character from each row. They are meaningless on purpose: the word that follows sets the label.
BRAND_FIRST = "云 海 金 华 天 瑞 星 恒 启 博 创 联 盛 泰 宏 明 安 信 新 百 佳 康 凯 嘉 卓 锦 汇 国 东 亿"
BRAND_SECOND = "帆 达 通 源 力 宇 腾 峰 诚 阳 鼎 为 润 泽 丰 科 思 图 拓 航 瑞 和 美 邦 翔 耀 铭 晟 恩 乐"
PLACE_FIRST = "青 临 平 长 清 永 南 北 白 绿 松 桐 柳 石 龙 凤 玉 银 洛 江 河 沧 岚 溪 古 武 双 万 兰 梅"
PLACE_SECOND = "川 阳 江 州 山 宁 原 林 城 安 岭 泉 湖 海 丘 水 口 塘 浦 陵 坪 关 桥 田 港 峰 台 沙 谷 门"

SURNAMES = (
    "王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 胡 朱 高 林 何 郭 马 罗 梁 宋 郑 谢 韩 唐 冯 于 董 萧 程 曹 袁 邓 许 傅 沈 "
    "曾 彭 吕 "
    "苏 卢 蒋 蔡 贾 丁 魏 薛 叶 阎 余 潘 杜 戴 夏 钟 汪 田 任 姜 欧阳 司马 上官 诸葛"
)
GIVEN = (
    "伟 芳 娜 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 超 霞 刚 桂 英 建 文 辉 力 鹏 飞 雪 梅 玲 晓 红 志 国 海 燕 春 秀 "
    "兰 凤 波 "
    "斌 宇 浩 凯 健 俊 帆 雨 晨 欣 佳 子 涵 梓 轩 思 琪 一 诺 明 哲 嘉 怡 若 曦 书 瑶 天 佑 博 雅 诗 墨 彤 楠 森 霖 "
    "瀚 然 皓"
)
FOREIGN = (
    "艾伦 布朗 卡特 戴维 埃文斯 费舍尔 格林 汉森 伊万 约翰 凯文 劳拉 马丁 尼克 奥利弗 帕克 罗宾 史密斯 汤姆 维克多 "
    "沃克 "
    "亚当 查理 多萝西 安娜 贝拉 克拉克 迈克尔 莫里斯 彼得 瑞安 萨拉 特纳 威尔逊"
)

COMPANY_KINDS = (
    "科技 集团 银行 证券 保险 汽车 电子 传媒 影业 地产 航空 能源 食品 药业 物流 数码 软件 重工 通信 股份 基金公司 "
    "有限公司 科技公司 文化公司 电器 矿业 乳业 置业 信托 服饰"
)
GOVERNMENT_KINDS = (
    "公安局 教育局 财政局 人民政府 税务局 人民法院 检察院 卫生局 交通局 规划局 环保局 民政局 海关 水利局 市场监管局 "
    "政府 "
    "气象局 统计局 消防局 文物局 审计局 林业局"
)
GOVERNMENT_LEVELS = "市 县 区 省"
ORGANIZATION_KINDS = (
    "大学 医院 足球俱乐部 协会 研究所 基金会 学院 交响乐团 联合会 中学 篮球队 实验室 志愿者协会 商会 女排 研究院 "
    "小学 乐队 "
    "救援队 师范大学 排球俱乐部 科学院"
)
SCENE_KINDS = (
    "山 湖 寺 塔 公园 古镇 瀑布 博物馆 海洋馆 海滩 峡谷 草原 石窟 故居 森林公园 温泉 风景区 古城 园林 水库 溶洞 "
    "湿地 "
    "纪念馆 游乐园"
)
ADDRESS_KINDS = "市 县 镇 村 路 街 大街 小区 省 街道 新区 胡同 大道 社区"
DOMAINS = (
    "市场 技术 财务 销售 人事 行政 产品 运营 法务 采购 宣传 教务 信息 施工 质检 战略 公关 投资 研发 客服 艺术 安全 "
    "机电 项目 "
    "外事 后勤 培训 数据 编辑 仓储"
)
TITLES = "总监 经理 主管 主任 部长 助理 顾问 负责人 秘书 处长 科长 专员 总裁 组长"
GRADES = "副 首席 高级 执行 代理 常务副"
JOBS = (
    "董事长 院长 校长 教练 队长 记者 律师 工程师 会计师 设计师 教授 研究员 摄影师 编剧 导演 主持人 护士长 馆长 站长 "
    "店长 "
    "厂长 局长 市长 县长 书记 裁判 译员 飞行员 建筑师 药剂师 总编辑 合伙人 园长 审计师 分析师 厨师长 村长 镇长 "
    "检察官 法官"
)
JOB_GRADES = "资深 首席 副 前任 特约 名誉 见习 高级 "

# Titles of books, films and games: the same parts for all three, and endings that point to one of them.
TITLE_FIRST = (
    "沉默 迷雾 风暴 星海 孤岛 长夜 春日 落日 黎明 冰原 雨巷 红色 青铜 最初 遥远 消失 隐秘 燃烧 午夜 九月 盛夏 逆流 "
    "镜中 "
    "无声 荒野 深海 云端 雪地 破碎 漂泊 失落 北方 陌生 古老 归来 倾斜"
)
TITLE_SECOND = (
    "信使 花园 河流 灯塔 列车 城堡 少年 歌声 王座 影子 航线 秘密 钟声 桥 森林 旅人 海岸 故乡 夜莺 剑客 誓言 星辰 "
    "邻居 屋檐 "
    "信号 岛屿 猎人 记忆 水手 骑士 匠人 月光 早晨 门 群山 回声"
)
TITLE_JOINTS = "的 之 与 "
BOOK_ENDINGS = "笔记 简史 文集 论 入门 诗选 日记 导读 讲义 手册"
MOVIE_ENDINGS = "追凶 大营救 归途 特工队 往事 惊魂 奇缘 风云 前传 大劫案"
GAME_ENDINGS = "传奇 战记 大作战 online 无双 争霸 模拟器 3 2 冒险岛"

# A slot is {label}; two {label1} slots get the same mention. Adjacent slots are adjacent mentions.
TEMPLATES = """
{company}{position}{name}出席了签约仪式
{company}宣布任命{name}为{position}
{name}曾担任{company}{position}多年
{company}与{company}达成合作
{company}本月在{address}设立了分公司
{name}辞去{company1}的职务，{company1}尚未回应
{company}股价昨日大涨百分之五
记者致电{company}，对方表示不予置评
{company}收购了{company}六成的股权
市民在{company}网点排起了长队
{company}的{position}{name}表示，明年将扩大投资规模
受其波及，{company1}暂停了生产，{company1}的员工放假三天
{government}昨日发布了通告
{government}表示将彻查此事
{government}{position}{name}到场督办
{government}已对{company}立案调查
据{government}通报，事故发生在{address}
{government1}提醒市民注意安全，{government1}的热线全天开通
{government}联合{government}开展了检查
{name}被{government}依法传唤
{government}批准了{company}的申请
{government}拨款修缮{scene}
家住{address}的{name}年近六十
{name}从{address}出发，步行前往{scene}
险情发生在{address}，无人员伤亡
{address}的房价上个月略降
{name}的老家在{address}
两台货车在{address}与{address}交叉口侧翻
快递昨晚寄到{address}
{address}新添三家书店
他在{address}租了一间房子
{scene}位于{address}，距市中心四十分钟车程
游客可以乘车前往{scene}
周末他全家去了{scene}
{scene}的门票降到了五十元
{scene}和{scene}都是热门的去处
{scene1}冬季不开放，想去{scene1}要等到春天
{name}在{scene}前拍照留念
爬上{scene}，可以望见整座城市
{scene}因暴雨临时闭园
从{scene}到{scene}只有一小时车程
{organization}{position}{name}发表了演讲
{name}毕业于{organization}
{organization}昨晚击败了{organization}
{organization}与{organization}联合主办论坛
{name}是{organization}的{position}
{organization}为灾区捐款百万元
{organization1}成立于民国初年，如今{organization1}有会员上千人
{name}加盟{organization}，身披十号球衣
伤者被送往{organization}抢救
{organization}的专家{name}判断风险可控
{organization}收下了{company}的捐赠
{name}转会到{organization}
{position}{name}在会上作了报告
{position}{name}和{position}{name}一同获奖
公司公开招聘{position}和{position}
他从底层职员升任{position}
{name}上月接任{position}
作为{position}，{name}连轴转了十二小时
{name}、{name}和{name}三人入围
{name1}说，{name1}的父亲总鼓励他
警方找到了失踪的{name}
{name}与{name}是多年的好友
网友{name}上传了这段视频
{name}夺得本届大赛的冠军
读者都爱看{name}写的小说{book}
{name}的新书{book}由出版社印行
我最近在读{book}，文笔很好
{book}是一部长篇小说
作家{name}凭{book}获文学奖
书店里{book}和{book}摆在一起
{book1}再版了，{book1}的译者写了新序
{organization}的图书馆收藏了{book}的手稿
{name}编校了{book}一书
{name}把{book}送给了图书馆
{name}执导的影片{movie}下月上映
电影{movie}票房突破十亿
{movie}由{name}和{name}主演
影院里此刻放映着{movie}
{company}出品的{movie}定档春节
影评人称赞{movie}的镜头很美
{movie1}首映当天，{movie1}的主演{name}到场
{name}凭借电影{movie}拿下最佳演员奖
观众对影片{movie}评价不一
{movie}在{address}取景拍摄
玩家们期待已久的游戏{game}如期开服
{company}推出了新款手游{game}
{name}天天玩{game}到凌晨
{game}的新版本添了四个副本
游戏{game}将登陆主机平台
{game}和{game}是同类型的网游
{game1}今日公测，{game1}的服务器一度瘫痪
{name}获得{game}电竞比赛的冠军
由{company}研发的网游{game}开启内测
不少青少年沉迷于{game}无法自拔
小说{book}被拍成电影{movie}
{game}脱胎于小说{book}
电影{movie}的同名游戏{game}也已上线
{government}与{organization}在{scene}种下了两百棵树
{organization}{name}教授应{government}之邀来到{address}
{company}{name}向{organization}捐出一年的薪水
{address}{government}的{position}{name}向记者作了说明
"""

# Said before or after a clause; they contain no entity of the ten labels.
OPENINGS = """
据了解， 昨天， 本月三日， 记者获悉， 消息称， 另外， 日前， 上周五， 目前， 不过， 据悉， 值得一提的是， 当天下午，
去年年底，
有媒体说， 随后， 早前， 此前， 无独有偶， 本月初， 凌晨两点， 前天夜里，
"""
CLOSINGS = """
，引起轰动 ，现场气氛热烈 ，详情仍有待公布 ，不少人表示意外 ，具体缘由不明 ，消息很快传开 ，受到一致好评
，此事尚未了结
，人人都很开心 ，结局出人意料
"""

# Sentences without an entity: {n} a number, {time}, {thing} and {state} from the rows below.
EMPTY_TEMPLATES = """
{time}的{thing}{state}
{thing}比{time}{state}
{time}气温下降了{n}度，出门要多穿衣服
他{time}购得{n}本书，花了不少钱
人们都说{thing}{state}
这部电影{state}，但票价要{n}元
那家公司{time}{state}
{time}玩游戏的人多了{n}成
{n}名选手出战{time}的比赛
{thing}{state}，{thing}也{state}
专家建议每日走{n}步，少吃油腻的食物
{time}有{n}趟列车晚点，旅客情绪稳定
你{time}还没告诉我{thing}如何
这座城市{time}{state}
那本小说我读了{n}遍
"""
EMPTY_TIME = "今天 明天 上个月 去年 周末 夜里 春天 冬天 假期 最近 年初 中午 清晨 这几天 傍晚"
EMPTY_THING = "气候 房租 口味 交通 成绩 心情 灯光 音乐 服务 队伍 空气 效果 做工 房间 课业 生意 水位 网速 菜价 身体"
EMPTY_STATE = (
    "好多了 还不错 很糟糕 有些起伏 让人放心 不太稳定 越来越好 毫无改善 格外平静 出乎意料 一般 不容乐观 挺像样 急剧下滑"
)
